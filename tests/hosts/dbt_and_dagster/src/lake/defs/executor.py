"""DuckDB has one writer at a time: steps one after another, in the run's own process."""

import dagster as dg

defs = dg.Definitions(executor=dg.in_process_executor)
