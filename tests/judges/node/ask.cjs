// Reads [{call, args}, ...] as JSON from stdin, answers what @wecom/crypto says to each, in order.
const wecom = require('./wecom-crypto.cjs')

const calls = {
  sign: (token, timestamp, nonce, encrypted) => wecom.getSignature(token, timestamp, nonce, encrypted),
  encrypt: (key, message, id, random) =>
    wecom.encrypt(key, message, id, ...(random ? [Buffer.from(random, 'base64')] : [])),
  decrypt: (key, encrypted) => {
    const { message, id, random } = wecom.decrypt(key, encrypted)
    return { message, id, random: random.toString('base64') }
  },
  jsapi: (options) => wecom.getJsApiSignature(options).signature,
}

let text = ''
process.stdin.on('data', (part) => { text += part })
process.stdin.on('end', () => {
  const answers = JSON.parse(text).map(({ call, args }) => {
    try { return { ok: calls[call](...args) } } catch (error) { return { error: String(error) } }
  })
  process.stdout.write(JSON.stringify(answers))
})
