// A form with a large file shows how much of it is sent. Without this script the browser sends it as it does any form.
"use strict";
(() => {
  const begin = () => { document.querySelectorAll("form[data-upload]").forEach(look); };
  const look = (form) => {
    const bar = form.querySelector("progress");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = form.querySelector("button[type=submit]");
      const request = new XMLHttpRequest();
      const over = () => { bar.hidden = true; button.disabled = false; };
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "text/html");
      request.upload.addEventListener("progress", (sent) => { if (sent.lengthComputable) bar.value = 100 * sent.loaded / sent.total; });
      request.addEventListener("load", () => {
        const answer = new DOMParser().parseFromString(request.responseText, "text/html").querySelector("main");
        if (!answer) { over(); return; }
        const main = document.adoptNode(answer);
        document.querySelector("main").replaceWith(main);
        if (request.status < 400) history.pushState(null, "", request.responseURL);
        if (window.htmx) window.htmx.process(main);
        begin();
      });
      request.addEventListener("error", over);
      bar.hidden = false;
      button.disabled = true;
      request.send(new FormData(form));
    });
  };
  begin();
})();
