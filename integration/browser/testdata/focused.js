// Who has the focus, and whether one sees that.
(() => {
  const e = document.activeElement;
  if (!e || e === document.body) return {index: -1, name: "", fault: ""};
  const style = getComputedStyle(e), box = e.getBoundingClientRect();
  let fault = "";
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) fault = "no outline";
  else if (style.outlineColor === getComputedStyle(e.parentElement).backgroundColor) fault = "an outline that one cannot see";
  else if (box.width < 1 || box.height < 1 || box.right < 0 || box.left > innerWidth) fault = "it is not in the window";
  return {index: [...document.querySelectorAll("*")].indexOf(e), name: e.getAttribute("aria-label") ?? e.innerText, fault};
})()
