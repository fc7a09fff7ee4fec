// Asks the server this page came from, and shows what it answers; every text of an answer is set as text, never as HTML.
"use strict";

const by = (id) => document.getElementById(id);

function headers(more) {
  const token = by("token");
  return token && token.value ? { ...more, Authorization: `Bearer ${token.value}` } : { ...more };
}

function say(text, bad) {
  by("status").textContent = text;
  by("status").className = bad ? "bad" : "";
}

function element(tag, text, kind) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function size(bytes) {
  return bytes >= 1e6 ? `${(bytes / 1e6).toPrecision(3)} MB` : `${(bytes / 1e3).toPrecision(3)} kB`;
}

function drawn(mask, words) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 8 * mask.length;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `mask: ${words}`);
  const pen = canvas.getContext("2d");
  mask.forEach((row, y) =>
    row.forEach((place, x) => {
      pen.fillStyle = `hsl(${(137 * place) % 360} 55% ${place ? 55 : 15}%)`;
      pen.fillRect(8 * x, 8 * y, 8, 8);
    }),
  );
  return canvas;
}

function said(given) {
  if ("heads" in given) {
    return Object.entries(given.heads).map(([head, { task, top, ...own }]) => `${head}: ${said(own)}`).join("; ");
  }
  return "label" in given ? given.label : given.tags ? given.tags.join(", ") || "none" : JSON.stringify(given);
}

function show(answers) {
  const cards = answers.map((answer) => {
    const { role, model, size_bytes, read_ms, model_ms, top, shares, mask, reads, contributed, ...given } = answer;
    const words = shares && shares.map((entry) => `${entry.label} ${(100 * entry.share).toFixed(1)} %`).join(", ");
    const card = document.createElement("div");
    card.className = `answer ${role}`;
    card.append(element("h2", `${role}: ${model}, ${size(size_bytes)}`));
    card.append(element("div", words || said(given), "given"));
    if (mask) card.append(drawn(mask, words));
    if (Array.isArray(top)) {
      const list = document.createElement("ol");
      for (const entry of top) {
        const line = element("li", `${(100 * entry.probability).toFixed(1)} % ${entry.label}`);
        const meter = document.createElement("meter");
        meter.value = entry.probability;
        meter.setAttribute("aria-label", `probability of ${entry.label}`);
        line.append(meter);
        list.append(line);
      }
      card.append(list);
    }
    if (contributed) {
      const told = Object.entries(contributed).map(([input, share]) => `${input} ${(100 * share).toFixed(0)} %`);
      card.append(element("div", `let in: ${told.join(", ")}`, "soft"));
    }
    card.append(element("div", `${model_ms.toPrecision(3)} ms the model, ${read_ms.toPrecision(3)} ms reading`, "soft"));
    return card;
  });
  by("answers").replaceChildren(...cards);
}

async function send(path, body, more) {
  const response = await fetch(path, { method: "POST", body, headers: headers(more) });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error || `error ${response.status}`);
  return found;
}

let asked = null; // what was asked last, where it may be kept

async function ask(body, more) {
  say("asking ...");
  offerToKeep(null);
  try {
    show((await send("/predict", body, more)).answers);
    offerToKeep(body instanceof FormData ? body : null);
    say("");
  } catch (error) {
    say(`no answer: ${error.message}`, true);
  }
}

function offerToKeep(body) {
  asked = body;
  if (by("wrong")) by("wrong").hidden = !body;
}

async function keep(label) {
  const row = new FormData();
  for (const [name, value] of asked) row.append(name, value);
  row.append("label", label);
  try {
    say((await send("/keep", row, {})).kept ? "kept for the next training" : "was kept already");
    by("wrong").reset();
    offerToKeep(null);
  } catch (error) {
    say(`not kept: ${error.message}`, true);
  }
}

async function offer() {
  const response = await fetch("/samples", { headers: headers({}) });
  if (!response.ok) return;
  const samples = await response.json();
  by("samples").replaceChildren(
    ...samples.map((sample) => {
      const figure = document.createElement("figure");
      for (const html of Object.values(sample.shown)) {
        const shown = document.createElement("div");
        shown.innerHTML = html; // made and escaped by the server
        figure.append(shown);
      }
      const button = element("button", `ask (label: ${sample.label})`);
      button.type = "button";
      button.addEventListener("click", () => ask(JSON.stringify({ sample: sample.number }), { "Content-Type": "application/json" }));
      figure.append(button);
      return figure;
    }),
  );
}

by("question").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(new FormData(event.target), {});
});

if (by("wrong")) {
  by("wrong").addEventListener("submit", (event) => {
    event.preventDefault();
    keep(by("right-answer").value);
  });
}

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    const preview = input.parentElement.querySelector(".preview");
    const file = input.files[0];
    preview.hidden = !(file && file.type.startsWith("image/"));
    if (!preview.hidden) preview.src = URL.createObjectURL(file);
  });
}

if (by("token")) by("token").addEventListener("change", offer);
offer();
