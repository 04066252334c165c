import { connect, type Socket } from 'node:net'
import { connect as secure } from 'node:tls'

// NATS's client protocol as far as a site needs it, on a bare socket. Ten thousand connections of the full client would
// be a measure of that client's memory; this one keeps next to nothing for each.

export type Wire = {
  publish(subject: string, reply: string | undefined, payload: string): void
  /** Resolves when the server has taken everything sent before. */
  flush(): Promise<void>
  close(): void
}

export type WireOptions = {
  readonly port: number
  /** The CA of the server's certificate; where it is absent the connection is plain. */
  readonly ca?: string | undefined
  readonly jwt: string
  /** Signs the server's nonce with the user's nkey; base64url. */
  readonly sign: (nonce: string) => string
  readonly subscriptions: readonly string[]
  readonly onMessage: (subject: string, status: string | undefined, payload: Buffer) => void
  /** The server said -ERR, or the connection ended without being asked to. */
  readonly onFault: (reason: string) => void
}

const HOST = '127.0.0.1'
const CRLF = Buffer.from('\r\n')

/** Connects, authenticates, subscribes, and resolves when the server has taken all of it. */
export function openWire(options: WireOptions): Promise<Wire> {
  let socket: Socket = connect(options.port, HOST)
  socket.setNoDelay(true)
  const pongs: (() => void)[] = []
  let closing = false
  // The server sends INFO again when it has news; only the first one holds the nonce.
  let greeted = false
  let rest: Buffer = Buffer.alloc(0)
  const flush = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    pongs.push(resolve)
    socket.write('PING\r\n')
    return promise
  }
  const wire: Wire = {
    publish(subject, reply, payload) {
      const head = `PUB ${subject} ${reply === undefined ? '' : `${reply} `}${Buffer.byteLength(payload)}\r\n`
      socket.write(`${head}${payload}\r\n`)
    },
    flush,
    close() {
      closing = true
      socket.destroy()
    },
  }
  return new Promise((resolve, reject) => {
    const fault = (reason: string) => {
      if (closing) return
      wire.close()
      options.onFault(reason)
      reject(new Error(reason))
    }
    const hear = (data: Buffer) => {
      rest = read(rest.length === 0 ? data : Buffer.concat([rest, data]), (line, payload) => {
        if (line.startsWith('MSG ') || line.startsWith('HMSG ')) return deliver(line, payload, options.onMessage)
        if (line === 'PING') socket.write('PONG\r\n')
        else if (line === 'PONG') pongs.shift()?.()
        else if (line.startsWith('-ERR')) fault(line)
        else if (line.startsWith('INFO ') && !greeted) {
          greeted = true
          // The server greets in the clear, and goes on in TLS.
          if (options.ca !== undefined) {
            socket.off('data', hear)
            attach(secure({ socket, host: HOST, ca: options.ca }))
          }
          hello(socket, line, options)
          void flush().then(() => resolve(wire))
        }
      })
    }
    const attach = (to: Socket) => {
      socket = to
      socket.on('error', (error) => fault(error.message))
      socket.on('close', () => fault('the connection ended'))
      socket.on('data', hear)
    }
    attach(socket)
  })
}

function hello(socket: Socket, line: string, { jwt, sign, subscriptions }: WireOptions): void {
  const { nonce } = JSON.parse(line.slice('INFO '.length)) as { nonce: string }
  const options = { verbose: false, pedantic: false, headers: true, no_responders: true, protocol: 1, lang: 'site' }
  socket.write(`CONNECT ${JSON.stringify({ ...options, version: '1', jwt, sig: sign(nonce) })}\r\n`)
  for (const [index, subject] of subscriptions.entries()) socket.write(`SUB ${subject} ${index + 1}\r\n`)
}

// Takes whole operations off the front and returns what is left.
function read(data: Buffer, on: (line: string, payload: Buffer) => void): Buffer {
  let at = 0
  for (;;) {
    const end = data.indexOf(CRLF, at)
    if (end < 0) break
    const line = data.toString('latin1', at, end)
    let next = end + 2
    let payload: Buffer = Buffer.alloc(0)
    if (line.startsWith('MSG ') || line.startsWith('HMSG ')) {
      const size = Number(line.slice(line.lastIndexOf(' ') + 1))
      if (data.length < next + size + 2) break
      payload = data.subarray(next, next + size)
      next += size + 2
    }
    on(line, payload)
    at = next
  }
  // A copy: a slice would keep the whole chunk alive.
  return at === data.length ? Buffer.alloc(0) : Buffer.from(data.subarray(at))
}

function deliver(line: string, payload: Buffer, onMessage: WireOptions['onMessage']): void {
  const words = line.split(' ')
  const subject = words[1] ?? ''
  if (words[0] === 'MSG') {
    onMessage(subject, undefined, payload)
    return
  }
  const headers = Number(words.at(-2))
  // NATS/1.0 404 Message Not Found
  const status = /^NATS\/1\.0 (\d{3})/.exec(payload.toString('latin1', 0, Math.min(headers, 64)))?.[1]
  onMessage(subject, status, payload.subarray(headers))
}
