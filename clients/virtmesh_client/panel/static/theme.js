// Before anything is painted: the theme that was chosen, so that the page does not flash.
(() => {
  const chosen = localStorage.getItem("virtmesh.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
