// Reads a voucher's QR code with the camera and sends the form as if it had been typed. Where the browser cannot read codes
// itself, the decoder is fetched when the camera is first opened.
"use strict";
(() => {
  const EVERY = 200;
  const box = document.querySelector("[data-camera]");
  const form = document.querySelector("[data-code]");
  const typed = document.getElementById("code");
  if (typed && typed.value) typed.select(); // what a hand scanner types takes the place of a code that was refused
  if (!box || !form || !navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) return;
  const [start, stop, status, sight] = ["start", "stop", "status", "sight"].map((name) => box.querySelector(`[data-${name}]`));
  const field = form.elements.namedItem("code");
  let stream = null;
  let timer = 0;

  const say = (text) => { status.textContent = text || ""; };

  const native = async () => {
    if (!("BarcodeDetector" in window)) return null;
    const known = await window.BarcodeDetector.getSupportedFormats();
    if (!known.includes("qr_code")) return null;
    const detector = new window.BarcodeDetector({ formats: known.filter((one) => one === "qr_code" || one === "code_128") });
    return async (video) => {
      const [first] = await detector.detect(video);
      return first ? first.rawValue : "";
    };
  };

  const fetched = async () => {
    const { default: decode } = await import(new URL(box.dataset.decoder, location.href).href);
    const canvas = document.createElement("canvas");
    const drawn = canvas.getContext("2d", { willReadFrequently: true });
    return async (video) => {
      const scale = Math.min(1, 800 / Math.max(video.videoWidth, video.videoHeight));
      canvas.width = Math.round(video.videoWidth * scale);
      canvas.height = Math.round(video.videoHeight * scale);
      drawn.drawImage(video, 0, 0, canvas.width, canvas.height);
      try {
        return decode(drawn.getImageData(0, 0, canvas.width, canvas.height));
      } catch (_) {
        return "";
      }
    };
  };

  const close = (back) => {
    clearTimeout(timer);
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    sight.srcObject = null;
    sight.hidden = stop.hidden = true;
    start.hidden = false;
    if (back) start.focus();
  };

  const found = (text) => {
    close(false);
    say(box.dataset.found);
    field.value = text.trim();
    form.requestSubmit();
  };

  const watch = (read) => {
    const look = async () => {
      if (!stream) return;
      let text = "";
      if (sight.videoWidth) text = await read(sight).catch(() => "");
      if (text && stream) found(text);
      else timer = setTimeout(look, EVERY);
    };
    look();
  };

  const open = async () => {
    say(box.dataset.opening);
    try {
      const asked = navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
      const [given, read] = await Promise.all([asked, (await native().catch(() => null)) || fetched()]);
      stream = given;
      sight.srcObject = stream;
      sight.hidden = stop.hidden = false;
      start.hidden = true;
      stop.focus();
      await sight.play();
      say(box.dataset.looking);
      watch(read);
    } catch (error) {
      close(true);
      say(error && (error.name === "NotFoundError" || error.name === "OverconstrainedError") ? box.dataset.none : box.dataset.denied);
    }
  };

  start.addEventListener("click", open);
  stop.addEventListener("click", () => { close(true); say(""); });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && stream) { close(true); say(""); } });
  addEventListener("pagehide", () => close(false));
  box.hidden = false;
})();
