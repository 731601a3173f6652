/* The little that the browser has to do itself; everything else comes from the server. */
"use strict";

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/* Times in the reader's own zone. */
const readable = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
function showTimes(root) {
  for (const time of all("time[datetime]:not([data-shown])", root)) {
    time.title = time.textContent;
    time.textContent = readable.format(new Date(time.dateTime));
    time.dataset.shown = "";
  }
  for (const zone of all("[data-reader-zone]", root)) zone.textContent = readable.resolvedOptions().timeZone;
}

/* The clock of the drawn phone. */
function showClock(root) {
  const now = new Date();
  const parts = {
    day: now.toLocaleDateString(undefined, { weekday: "long", month: "long", day: "numeric" }),
    hour: now.toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" }).replace(/\s?[AP]M$/i, ""),
  };
  for (const place of all("[data-clock]", root)) place.textContent = parts[place.dataset.clock];
}

/* How long the message is. */
function showLength() {
  const message = one("#message");
  if (!message) return;
  const length = [...message.value].length;
  one("#length").value = Math.min(length, 200);
  one("#count").textContent = length;
  one("#advice").textContent =
    length <= 140 ? "up to 140 show in full on most phones"
    : length <= 160 ? "some phones cut it after 140"
    : "most phones cut it after 160";
}

/* Only the fields that the chosen audience and time need. Others are not sent either: the server refuses an order with
   a value that it would leave out. */
function needed(group, wanted) {
  one(group).hidden = !wanted;
  for (const field of all("input, select", one(group))) field.disabled = !wanted;
}
function showFields() {
  const form = one("#compose");
  if (!form) return;
  const audience = form.elements.audience.value;
  needed("#for-segment", audience === "segment");
  needed("#for-csv", audience === "csv");
  needed("#for-later", form.elements.when.value === "later");
  form.elements.at.required = form.elements.when.value === "later";
  form.elements.csvFile.required = audience === "csv";
  one("#zone").textContent = form.elements.program.selectedOptions[0].dataset.zone;
  for (const select of all("[data-segment]")) {
    const { kind, default: usual } = select.selectedOptions[0].dataset;
    const field = one(`#${select.dataset.segment}-field`);
    const input = one("input", field);
    field.hidden = kind === "none";
    if (field.hidden) input.value = "";
    input.placeholder = usual || { list: "90210, 902*", tier: "1 to 4", days: "30", number: "500" }[kind] || "";
    input.required = audience === "segment" && !field.hidden && !usual && kind !== "text";
  }
}

/* The value of an occasion, where it takes one. */
function showOccasion() {
  const select = one("[data-occasion]");
  if (!select) return;
  const { kind, default: usual } = select.selectedOptions[0].dataset;
  const field = one("#occasion-field");
  const input = one("input", field);
  field.hidden = kind === "none";
  if (field.hidden) input.value = "";
  input.placeholder = usual || { points: "500", mark: "450 or 90%", weekdays: "FRI or MON,FRI or 1", segment: "WHALE", signed_days: "-1", days: "30" }[kind] || "";
}

function insertAtCursor(field, text) {
  field.focus();
  field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function showFile() {
  const input = one("#csvFile");
  const file = input.files[0];
  one("#file-name").textContent = file
    ? `${file.name}, ${Math.max(1, Math.round(file.size / 1024)).toLocaleString()} kB`
    : input.dataset.usual;
}

document.addEventListener("input", (event) => {
  if (event.target.id === "message") showLength();
  if (event.target.dataset.expect) {
    one("#yes").disabled = event.target.value.replace(/\D/g, "") !== event.target.dataset.expect;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.closest("#compose")) showFields();
  if (event.target.id === "csvFile") showFile();
  if ("occasion" in event.target.dataset) { one("#parameter").value = ""; showOccasion(); }
  if ("submit" in event.target.dataset) event.target.form.requestSubmit();
});

document.addEventListener("click", (event) => {
  const chip = event.target.closest("[data-insert]");
  if (chip) insertAtCursor(one("#message"), chip.dataset.insert);
  if (event.target.closest("[data-close]")) one("#confirm").close();
});

/* Drag and drop of a file. The input covers the area, so the browser does the rest. */
for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(kind, (event) => {
    const drop = event.target.closest && event.target.closest("#drop");
    if (drop) drop.classList.toggle("over", over);
  });
}

/* The confirmation is a modal dialog: the browser keeps the focus inside and gives it back. It opens once htmx has wired
   its buttons ("afterSettle"): an Escape in the moment between would close it and leave the draft of a list behind. */
document.addEventListener("htmx:afterSettle", (event) => {
  const dialog = one("#confirm");
  if (event.detail.target === dialog && dialog.childElementCount) {
    if (!dialog.open) dialog.showModal();
    (one("#typed", dialog) || one("#confirm-title", dialog)).focus();
  }
});
document.addEventListener("cancel", (event) => {
  const discard = one("[data-close][hx-post]", event.target);
  if (discard) discard.click();
}, true);

/* A notice is where the eye is, and stays until the person does something: presses a button, sends a form. */
document.addEventListener("htmx:afterSettle", (event) => {
  showTimes(document);
  showClock(document);
  if (event.detail.target.id === "notice") {
    const dialog = one("#confirm");
    if (dialog && dialog.open) dialog.close();
    event.detail.target.scrollIntoView({ block: "center" });
  }
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) one("#notice").replaceChildren();
  else if (event.target.closest("button[hx-post], #send, #yes")) one("#notice").replaceChildren();
});

/* What was typed is there again after Back or a reload, until it was sent. A draft has its own form. */
const KEPT = "passbell-compose";
const composing = one("#compose:not([data-draft])");
function keepForm() {
  const fields = [...new FormData(composing)].filter(([name, value]) => typeof value === "string" && name !== "member");
  sessionStorage.setItem(KEPT, JSON.stringify(fields));
}
function restoreForm() {
  const fields = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  const [entry] = performance.getEntriesByType("navigation");
  const again = entry && (entry.type === "back_forward" || entry.type === "reload");
  if (!fields || (sessionStorage.getItem(`${KEPT}-sent`) && !again)) return;
  for (const [name, value] of fields) {
    const field = composing.elements[name];
    if (!field || (name === "audience" && value === "csv")) continue;
    if (name === "program" && (new URLSearchParams(location.search).has("program") || ![...field.options].some((o) => o.value === value))) continue;
    field.value = value;
  }
}
if (composing) {
  restoreForm();
  composing.addEventListener("input", () => { sessionStorage.removeItem(`${KEPT}-sent`); keepForm(); });
  composing.addEventListener("change", keepForm);
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Redirect")) sessionStorage.setItem(`${KEPT}-sent`, "yes");
  });
}
document.addEventListener("htmx:oobAfterSwap", () => showTimes(document));
document.addEventListener("htmx:sendError", () => {
  one("#notice").innerHTML = '<p class="notice bad">The server does not answer. Try again in a moment.</p>';
});

showTimes(document);
showClock(document);
showLength();
showFields();
showOccasion();
if (composing && one("#message").value) composing.dispatchEvent(new Event("change", { bubbles: true }));
