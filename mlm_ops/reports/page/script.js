(function(){
var form=document.getElementById('finder');
if(!form){return;}
var field=form.querySelector('input'),result=form.querySelector('output'),root=document.documentElement,number=Object.create(null);
form.querySelectorAll('option').forEach(function(o){number[o.value]=o.getAttribute('data-n');});
function light(){
var old=document.querySelectorAll('.on'),i,marks,pictures=new Set(),n=number[field.value];
for(i=0;i<old.length;i++){old[i].classList.remove('on');}
marks=n?document.querySelectorAll('[data-u="'+n+'"]'):[];
for(i=0;i<marks.length;i++){marks[i].classList.add('on');pictures.add(marks[i].closest('figure'));}
root.classList.toggle('lit',marks.length>0);
result.textContent=marks.length?'in '+pictures.size+(pictures.size>1?' pictures':' picture'):field.value?'not in the pictures':'';
}
field.addEventListener('input',light);
document.addEventListener('click',function(e){
var mark=e.target.closest&&e.target.closest('[data-u]'),o;
if(!mark){return;}
o=form.querySelector('option[data-n="'+mark.getAttribute('data-u')+'"]');
if(o){field.value=field.value===o.value?'':o.value;light();}
});
form.hidden=false;
})();
