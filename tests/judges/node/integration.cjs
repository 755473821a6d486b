// A system of the bank's in Node, written from docs/integration.md alone: reads {url, who, secret, calls} and writes
// the answers.
'use strict';
const { createHash, createHmac, randomBytes } = require('node:crypto');
const http = require('node:http');

function send({ url, who, secret }, { method, path, body }) {
  const data = Buffer.from(JSON.stringify(body), 'utf8');
  const time = String(Math.floor(Date.now() / 1000));
  const nonce = randomBytes(16).toString('hex');
  const lines = [method, path, time, nonce, createHash('sha256').update(data).digest('hex')];
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': data.length,
    'Yinqiao-Partner': who,
    'Yinqiao-Timestamp': time,
    'Yinqiao-Nonce': nonce,
    'Yinqiao-Signature': createHmac('sha256', secret).update(lines.join('\n')).digest('hex'),
  };
  return new Promise((resolve, reject) => {
    const request = http.request(url + path, { method, headers }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve({ status: answer.statusCode, body: JSON.parse(Buffer.concat(chunks)) }));
    });
    request.on('error', reject);
    request.end(data);
  });
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const asked = JSON.parse(Buffer.concat(chunks));
  const answers = [];
  for (const call of asked.calls) answers.push(await send(asked, call));
  process.stdout.write(JSON.stringify(answers));
}

main().catch((error) => {
  process.stderr.write(String(error.stack));
  process.exit(1);
});
