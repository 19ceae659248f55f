// The star: it shows what was clicked at once, and tells the server meanwhile. Without this script it is a form.
"use strict";

for (const form of document.querySelectorAll("form.star")) {
  const button = form.querySelector("button");
  const count = form.querySelector("output");
  const post = Number(form.dataset.post);
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  let told = button.getAttribute("aria-pressed") === "true";
  let wanted = told;
  let busy = false;

  function show(pressed) {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(pressed));
    count.value = Number(count.value) + Number(pressed) - Number(shown);
  }

  function notice(text) {
    const line = document.createElement("p");
    line.className = "notice";
    line.setAttribute("role", "alert");
    line.textContent = text;
    form.after(line);
    setTimeout(() => line.remove(), 5000);
  }

  // One request at a time, and the last wish counts: two on their way might arrive in the wrong order.
  async function tell() {
    if (busy || wanted === told) {
      return;
    }
    busy = true;
    const wish = wanted;
    try {
      const headers = { "X-CSRFToken": token, "Content-Type": "application/json" };
      const answer = wish
        ? await fetch("/favorites/", { method: "POST", headers, body: JSON.stringify({ post_id: post }) })
        : await fetch(`/favorites/${post}/`, { method: "DELETE", headers });
      if (answer.status === 401) {
        location.href = form.dataset.login;
        return;
      }
      if (!answer.ok) {
        throw new Error(answer.status);
      }
      told = wish;
    } catch {
      wanted = told;
      show(told);
      notice("That did not work. Please try again.");
    }
    busy = false;
    tell();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    wanted = !wanted;
    show(wanted);
    tell();
  });
}
