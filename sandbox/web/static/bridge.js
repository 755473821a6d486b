// The bridge of WeCom's client, which the sandbox puts into the side panel (contract/jssdk 7): what it answers is decided by the
// sandbox, and only what a page was let in for is answered at all.
(() => {
  "use strict";
  const [member, chat] = (document.cookie.match(/(?:^|; )sandbox_client=([^;]*)/)?.[1] || "|").split("|").map(decodeURIComponent);
  const here = location.pathname + location.search;
  let granted = [];

  const ask = async (name, params) => {
    const body = JSON.stringify({ name, params, page: here, member, external_userid: chat });
    const answer = await fetch("/control/client/invoke", { method: "POST", body });
    return answer.json();
  };

  const invoke = async (name, params, answer = () => {}) => {
    if (name !== "agentConfig" && name !== "getContext" && !granted.includes(name)) {
      setTimeout(() => answer({ err_msg: `${name}:fail_nopermission` }));
      return;
    }
    const said = await ask(name, params || {});
    if (name === "agentConfig") granted = /:ok$/.test(said.err_msg) ? params.jsApiList : [];
    answer(said);
  };

  window.WeixinJSBridge = { invoke, on: () => {} };
  addEventListener("DOMContentLoaded", () => document.dispatchEvent(new Event("WeixinJSBridgeReady")));
})();
