"use strict";
for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
const cue = (box) => {
  const wide = box.scrollWidth > box.clientWidth + 1;
  box.classList.toggle("wide", wide);
  let text = box.previousElementSibling;
  if (!text || !text.classList.contains("cue")) {
    if (!wide) return;
    text = document.createElement("p");
    text.className = "cue";
    text.textContent = "Scroll sideways for more →";
    box.before(text);
  }
  text.hidden = !wide;
};
const cues = () => document.querySelectorAll(".scroll, .plot.long").forEach(cue);
addEventListener("resize", cues);
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", cues);
cues();
for (const box of document.querySelectorAll("[data-mistakes]")) {
  const selects = [...box.querySelectorAll("select")];
  const rows = [...box.querySelectorAll("li")];
  const output = box.querySelector("output");
  const update = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = selects.some((select) => select.value !== "" && row.dataset[select.dataset.side] !== select.value);
      if (!row.hidden) shown += 1;
    }
    output.textContent = `${shown} of ${rows.length} shown`;
  };
  for (const select of selects) select.addEventListener("change", update);
  update();
}
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    const box = document.getElementById(button.dataset.show);
    for (const select of box.querySelectorAll("select")) {
      select.value = button.dataset[select.dataset.side];
      select.dispatchEvent(new Event("change"));
    }
    box.scrollIntoView();
    box.querySelector("select").focus({ preventScroll: true });
  });
}
