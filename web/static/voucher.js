/* Keeps the open voucher fresh: a new QR code before the shown one is over, the time that is left of it and of a gift, and its
   state once it was used. Without this script the link under the QR code does the same. */
(() => {
  "use strict";
  const voucher = document.getElementById("voucher");
  const early = 8; // seconds before the QR code is over
  let until = 0;
  let said = "";

  const read = () => {
    const qr = document.getElementById("qr");
    until = qr ? Date.now() + (Number(qr.dataset.seconds) - early) * 1000 : 0;
    said = document.getElementById("voucher-state").textContent.trim();
  };

  const count = () => {
    for (const left of document.querySelectorAll("[data-days]")) {
      left.ends ??= Date.now() + Number(left.dataset.seconds) * 1000;
      const seconds = Math.max(0, Math.round((left.ends - Date.now()) / 1000));
      const [text, number] = seconds >= 172800 ? [left.dataset.days, Math.floor(seconds / 86400)]
        : seconds >= 7200 ? [left.dataset.hours, Math.floor(seconds / 3600)]
        : [left.dataset.minutes, Math.ceil(seconds / 60)];
      left.textContent = text.replace("%d", number);
    }
  };

  const renew = async () => {
    until = Date.now() + 5000; // tried again then, if this comes to nothing
    try {
      const answer = await fetch(voucher.dataset.fragment, { credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload(); // the session is over
      if (answer.status === 404) return location.assign(voucher.dataset.list); // somebody has taken it
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
      const state = fresh.querySelector("#voucher-state");
      if (state && state.textContent.trim() === said) state.replaceWith(document.getElementById("voucher-state"));
      voucher.replaceChildren(...fresh.childNodes);
      read();
      count();
    } catch { /* no network: the QR code stays until there is */ }
  };

  read();
  count();
  setInterval(() => {
    if (document.hidden) return;
    count();
    if (until && Date.now() > until) renew();
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && until) renew(); });
})();
