// Trouble on demand: faults of calls and callbacks, limits, tokens, the clock.

import { $, attempt, button, control, empty, make, replace, say } from "./dom.js";

// target, kind, words, which number it takes (name and what is sent), whether it needs a path
const KINDS = [
  ["api", "latency", "接口变慢 API answers late", ["秒 Seconds", "seconds", 3]],
  ["api", "timeout_after_success", "做完但不回应 done, never answered", null],
  ["api", "http", "接口 5xx（部分中断）partial outage", ["状态 Status", "status", 503]],
  ["api", "close", "断开连接 connection closed", null],
  ["api", "errcode", "返回错误码 answers an errcode", ["errcode", "errcode", 45009]],
  ["callback", "duplicate", "回调重复 duplicated callbacks", ["份数 Copies", "copies", 2]],
  ["callback", "replay", "回调原样重放 replayed bytes", ["份数 Copies", "copies", 1]],
  ["callback", "delay", "回调迟到 delayed callbacks", ["秒 Seconds", "seconds", 5]],
  ["callback", "reorder", "回调乱序 reordered callbacks", null],
  ["callback", "drop", "回调丢失 lost callbacks", null],
  ["callback", "wrong_signature", "签名错误 wrong signature", null],
  ["callback", "wrong_receiveid", "收件方错误 wrong receiveid", null],
  ["callback", "stale_timestamp", "过期时间戳 stale timestamp", ["秒 Seconds", "seconds", 3600]],
];

function chosen() {
  return KINDS[Number($("fault-kind").value)];
}

function showFields() {
  const [target, , , number] = chosen();
  $("fault-path").disabled = target !== "api";
  $("fault-value-label").hidden = !number;
  if (number) {
    $("fault-value-name").textContent = number[0];
    $("fault-value").value = number[2];
  }
}

async function start() {
  const [target, kind, words, number] = chosen();
  const body = { target, kind, times: Number($("fault-times").value) };
  if (target === "api" && $("fault-path").value.trim()) body.path = $("fault-path").value.trim();
  if (number) body[number[1]] = Number($("fault-value").value);
  await control("/faults", body);
  say(`已开始：${words}`);
}

// The words of a 45009 are not to be trusted: each storm may claim a window of its own.
async function storm(window) {
  await control("/faults", { target: "api", kind: "errcode", errcode: 45009, times: 50, ...(window ? { window } : {}) });
  say("接下来 50 次调用都返回 45009 The next 50 calls meet 45009");
}

const QUICK = [
  ["限流风暴 45009 storm", () => storm()],
  ["…自称每分钟 “minute”", () => storm("minute")],
  ["…自称每小时 “hour”", () => storm("hour")],
  ["限额缩到 1% Limits at 1 %", async () => { await control("/limits", { scale: 0.01 }); say("频率限制缩小到百分之一 Frequency limits at one percent"); }],
  ["限额复原 Real limits", () => control("/limits", undefined, "DELETE")],
  ["吊销令牌 Revoke tokens", async () => say(`已吊销 ${(await control("/tokens/revoke", { errcode: 42001 })).revoked} 个令牌 tokens revoked`)],
  ["+20 秒 s", () => control("/clock", { advance: 20 })],
  ["+1 小时 h", () => control("/clock", { advance: 3600 })],
  ["+1 天 day", () => control("/clock", { advance: 86400 })],
  ["全部恢复 Clear all faults", async () => { await control("/faults", undefined, "DELETE"); say("故障已清除 Faults cleared"); }],
];

export async function showTrouble() {
  const [faults, health] = await Promise.all([control("/faults"), control("/health")]);
  const nodes = faults.faults.map((f) => {
    const known = KINDS.find(([target, kind]) => target === f.target && kind === f.kind);
    const words = [known ? known[2] : f.kind, f.path, f.errcode || "", f.times ? `还剩 ${f.times} 次 left` : "直到清除 until cleared"];
    return make("li", { className: "held" }, words.filter(Boolean).join(" · "));
  });
  const now = new Date(health.time * 1000).toLocaleString("zh-CN", { hour12: false });
  if (!nodes.length) nodes.push(make("li", {}, empty("现在没有故障。 No trouble now.")));
  nodes.push(make("li", { className: "soft" }, `沙盒时间 Sandbox time ${now}`));
  replace("faults", nodes);
}

export async function startTrouble() {
  KINDS.forEach(([, , words], index) => $("fault-kind").append(make("option", { value: String(index) }, words)));
  $("fault-kind").addEventListener("change", showFields);
  showFields();
  $("fault").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(start);
  });
  $("quick").append(...QUICK.map(([words, action]) => button(words, action)));
  const counts = (await control("/calls?limit=0")).counts;
  $("paths").append(...Object.keys(counts).map((path) => make("option", { value: path })));
}
