# Numbers of lme4 and nlme for the shipped analyses that no case of tests/specification/reference has.
# Rscript tests/pipelines/cases/lme4.R  (from the root of the repository; lme4 1.1, nlme 3.1, jsonlite)
suppressMessages({library(lme4); library(nlme); library(jsonlite)})
data <- function(name) read.csv(file.path("pipelines/data", paste0(name, ".csv")), stringsAsFactors = TRUE)
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 200000), calc.derivs = FALSE,
                     check.conv.singular = "ignore")
of_lmer <- function(m) {
  v <- as.data.frame(VarCorr(m))
  list(log_likelihood = as.numeric(logLik(m)), fixed = as.list(fixef(m)),
       std_error = as.list(sqrt(diag(as.matrix(vcov(m))))), sigma2 = sigma(m)^2,
       t = lapply(VarCorr(m), function(b) unname(as.matrix(b)[seq_len(nrow(b)), seq_len(nrow(b)), drop = FALSE])))
}
schools <- data("growth_of_t")
slopes <- paste0("x", 1:6)
growth_of_t <- lapply(0:6, function(k) {
  random <- paste(c("1", slopes[seq_len(k)]), collapse = " + ")
  of_lmer(lmer(as.formula(sprintf("y ~ %s + (%s | school)", paste(slopes, collapse = " + "), random)), schools, control = tight))
})
names(growth_of_t) <- paste0("coefficients_", 1:7)

rats <- data("growth"); rats$t <- rats$Time - 64
control <- lmeControl(opt = "optim", msMaxIter = 1000, maxIter = 1000, tolerance = 1e-12, msTol = 1e-12, reltol = 1e-14)
of_lme <- function(m) {
  s <- m$modelStruct
  list(log_likelihood = as.numeric(logLik(m)), fixed = as.list(fixef(m)),
       t = unname(as.matrix(getVarCov(m))[1:2, 1:2]), sigma2 = m$sigma^2,
       strata = if (is.null(s$varStruct)) NULL else
         as.list((m$sigma * coef(s$varStruct, unconstrained = FALSE, allCoef = TRUE))^2),
       phi = if (is.null(s$corStruct)) NULL else exp(-1 / unname(coef(s$corStruct, unconstrained = FALSE))))
}
# corExp over days without a nugget is phi^|days apart|, which ar1(Time) is
ar1 <- corExp(5, form = ~ Time | Rat); by_diet <- varIdent(form = ~ 1 | Diet)
model <- function(...) of_lme(lme(weight ~ t * Diet, rats, ~ t | Rat, control = control, ...))
growth <- list(end = model(), ar1 = model(correlation = ar1), strata = model(weights = by_diet),
               both = model(correlation = ar1, weights = by_diet))

students <- data("hsb")
mean_of <- function(x) ave(x, students$school)
students <- within(students, {
  ses_m <- mean_of(ses); ses_w <- ses - ses_m; minority_w <- minority - mean_of(minority); female_w <- female - mean_of(female)
})
schools <- unique(data.frame(students[c("school", "sector", "pracad", "ses_m")], y = mean_of(students$mathach)))
students$y_w <- students$mathach - mean_of(students$mathach)
lm_of <- function(m, df) list(fixed = as.list(coef(m)), std_error = as.list(sqrt(diag(vcov(m)) * m$df.residual / df)))
hsb <- list(
  multilevel = of_lmer(lmer(mathach ~ ses + sector + (1 | school), students, control = tight)),
  level_1 = of_lmer(lmer(mathach ~ ses_w + minority_w + female_w + (1 | school), students, control = tight)),
  slopes_vary = of_lmer(lmer(mathach ~ ses_w + minority_w + female_w + (ses_w | school), students, control = tight)),
  level_2 = of_lmer(lmer(mathach ~ ses_w * ses_m + ses_w * sector + minority_w + female_w + pracad + (ses_w | school), students, control = tight)),
  # 160 means are taken out, so 7185 - 160 - 3 degrees of freedom are left
  within_schools = lm_of(lm(y_w ~ 0 + ses_w + minority_w + female_w, students), 7185 - 160 - 3),
  between_schools = lm_of(lm(y ~ ses_m + sector + pracad, schools), 156))
pupils <- data("three_levels")
three_levels <- list(
  null = of_lmer(lmer(math ~ 1 + (1 | schoolid) + (1 | childid), pupils, control = tight)),
  growth_explained = of_lmer(lmer(math ~ year * lowinc + year * black + retained + (year | schoolid) + (year | childid), pupils, control = tight)))
crossed <- lapply(c(plates = "(1 | plate)", samples = "(1 | sample)"), function(r)
  of_lmer(lmer(as.formula(paste("diameter ~ 1 +", r)), data("crossed"), control = tight)))
source <- sprintf("%s; lme4 %s; nlme %s", R.version.string, packageVersion("lme4"), packageVersion("nlme"))
write(toJSON(list(source = source, growth_of_t = growth_of_t, growth = growth, hsb = hsb, three_levels = three_levels, crossed = crossed),
             digits = NA, auto_unbox = TRUE, null = "null", pretty = TRUE), "tests/pipelines/cases/lme4.json")
