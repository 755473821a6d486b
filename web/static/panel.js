/* Asks WeCom's client whose chat the side panel was opened from, and goes to that customer's page (contract/jssdk 1.3, 3.1).
   The client's word is a hint: the server looks whether this member may see this customer. */
(() => {
  "use strict";
  const asks = document.getElementById("asks-wecom");
  const given = asks.dataset;
  const patience = 5000;
  let over = false;

  const leave = (address) => {
    if (over) return;
    over = true;
    location.replace(address);
  };
  const good = (answer) => /:\s*(ok|yes)$/i.test(String((answer && (answer.err_msg || answer.errMsg)) || ""));

  const ask = () => {
    const bridge = window.WeixinJSBridge;
    bridge.invoke("agentConfig", {
      corpid: given.corp, agentid: given.agent, timestamp: given.timestamp, nonceStr: given.nonce,
      signature: given.signature, jsApiList: ["getCurExternalContact"],
    }, (registered) => {
      if (!good(registered)) return leave(given.list);
      bridge.invoke("getCurExternalContact", {}, (answer) => {
        const userid = good(answer) && answer.userId;
        leave(userid ? `${given.contact}?external_userid=${encodeURIComponent(userid)}` : given.list);
      });
    });
  };

  if (window.WeixinJSBridge) ask();
  else document.addEventListener("WeixinJSBridgeReady", ask, { once: true });
  setTimeout(() => leave(given.list), patience);
})();
