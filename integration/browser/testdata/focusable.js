// Where all visible controls are among the elements.
(() => {
  const every = [...document.querySelectorAll("*")];
  return every.filter(e => e.matches("a[href], button, input:not([type=hidden]), select, textarea, [tabindex='0']") && e.checkVisibility()).map(e => every.indexOf(e));
})()
