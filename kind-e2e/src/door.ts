import { createServer, type RequestListener, request } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

// A door in front of a hub's plain HTTP on loopback: every call goes through, and a test may stop an answer on its way,
// which is how a killed hub, a killed agent and a lost answer are told apart from outside.

export type Call = 'ask' | 'prove' | 'poll' | 'other'
/** Sees each answer before it is passed on; `lost` and it never arrives. */
type Watch = (call: Call, body: string) => Promise<'passed' | 'lost'>

export type Door = { readonly url: string; watch(watch: Watch | undefined): void; close(): Promise<void> }

/** With `tls` it is a door of HTTPS, under whatever certificate that is. */
export function openDoor(target: () => number, tls?: { cert: string; key: string }): Promise<Door> {
  let watching: Watch | undefined
  const listener: RequestListener = (near, answer) => {
    const { method, url: path, headers } = near
    const far = request({ host: '127.0.0.1', port: target(), method, path, headers }, async (reply) => {
      const chunks: Buffer[] = []
      for await (const chunk of reply) chunks.push(Buffer.from(chunk))
      const body = Buffer.concat(chunks)
      const fate = await watching?.(callOf(method, path), body.toString('utf8'))
      if (fate === 'lost') return void answer.destroy()
      answer.writeHead(reply.statusCode ?? 502, reply.headers).end(body)
    })
    far.once('error', () => answer.destroy())
    near.pipe(far)
  }
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('the door has no port'))
      resolve({
        url: `${tls ? 'https' : 'http'}://127.0.0.1:${address.port}`,
        watch(watch) {
          watching = watch
        },
        close: () =>
          new Promise((done) => {
            server.close(() => done())
            server.closeAllConnections()
          }),
      })
    })
  })
}

function callOf(method = '', path = ''): Call {
  if (!path.startsWith('/agent/v1/registrations')) return 'other'
  if (method === 'GET') return 'poll'
  return path.endsWith('/proof') ? 'prove' : 'ask'
}
