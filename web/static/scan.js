/* Scans a voucher with the camera of WeCom's client and sends what it read to the server (contract/jssdk 1.3, 3.4).
   Without that client the button is not there, and codes are typed. */
(() => {
  "use strict";
  const scan = document.getElementById("scan");
  if (!scan) return;
  const given = scan.dataset;
  const patience = 5000;
  let registered = false;

  const good = (answer) => /:\s*(ok|yes)$/i.test(String((answer && (answer.err_msg || answer.errMsg)) || ""));
  const cancelled = (answer) => /cancel/i.test(String((answer && (answer.err_msg || answer.errMsg)) || ""));
  const say = (what) => scan.querySelectorAll("[data-said]").forEach((one) => { one.hidden = one.dataset.said !== what; });

  /* Phones with iOS wrap what was read in JSON; bar codes come as "EAN_13,4006381333931". */
  const read = (answer) => {
    let text = String((answer && answer.resultStr) || "").trim();
    try {
      const inside = JSON.parse(text);
      text = String((inside.scan_code && inside.scan_code.scan_result) || inside.resultStr || "") || text;
    } catch { /* plain text */ }
    return text.replace(/^[A-Z]+_[0-9A-Z]+,/, "").trim();
  };

  const register = (then) => {
    if (registered) return then();
    let over = false;
    const late = setTimeout(() => { over = true; say("silent"); }, patience);
    window.WeixinJSBridge.invoke("agentConfig", {
      corpid: given.corp, agentid: given.agent, timestamp: given.timestamp, nonceStr: given.nonce,
      signature: given.signature, jsApiList: ["scanQRCode"],
    }, (answer) => {
      clearTimeout(late);
      if (over) return;
      registered = good(answer);
      if (registered) then();
      else say("refused");
    });
  };

  const take = (answer) => {
    if (cancelled(answer)) return;
    if (!good(answer)) return say("refused");
    const text = read(answer);
    if (!text) return say("empty");
    const form = document.getElementById("look");
    document.getElementById("shown").value = text;
    form.submit();
  };

  const ready = () => {
    scan.hidden = false;
    scan.querySelector("button").addEventListener("click", () => {
      say("");
      register(() => window.WeixinJSBridge.invoke("scanQRCode", { needResult: 1, scanType: ["qrCode", "barCode"] }, take));
    });
  };

  if (window.WeixinJSBridge) ready();
  else document.addEventListener("WeixinJSBridgeReady", ready, { once: true });
})();
