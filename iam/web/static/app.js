// Small comforts. Every page works without them.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  const label = button.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "✓";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}
for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; menu.firstElementChild.focus(); } });
}
for (const form of document.querySelectorAll("form[data-download]")) {
  const button = form.querySelector("button.btn-primary");
  const chosen = form.querySelectorAll("input[name=key]");
  const own = form.querySelector(".sub");
  const show = () => { own.hidden = form.elements.key.value !== "theirs"; };
  chosen.forEach((radio) => radio.addEventListener("change", show));
  show();
  form.addEventListener("submit", () => {
    button.setAttribute("aria-busy", "true");
    setTimeout(() => button.removeAttribute("aria-busy"), 3000);
  });
}
for (const form of document.querySelectorAll("form[data-zone]")) {
  const zone = form.elements.zone;
  if (zone && !zone.value && !form.elements.starts.value) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
}
// In the inbox j and k go from one request to the next.
const rows = [...document.querySelectorAll("a[data-row]")];
if (rows.length) {
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, k: -1 }[event.key];
    if (step) rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(document.activeElement) + step))].focus();
  });
}
