import { createServer, connect as dial, type Socket } from 'node:net'

// One site's link to the world: a relay on loopback that a story can cut and mend. Cutting resets what is open and
// refuses what is new, which is what a site sees of a WAN that is away.

export type Link = {
  readonly port: number
  cut(): void
  mend(): void
  close(): Promise<void>
}

/** Relays 127.0.0.1:<port> to the port that `target()` names at that moment. */
export function openLink(target: () => number): Promise<Link> {
  const open = new Set<Socket>()
  let whole = true
  const keep = (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
  }
  const server = createServer((near) => {
    keep(near)
    if (!whole) return void near.resetAndDestroy()
    const far = dial(target(), '127.0.0.1')
    keep(far)
    near.pipe(far).pipe(near)
    near.once('close', () => far.destroy())
    far.once('close', () => near.destroy())
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('the relay has no port'))
      resolve({
        port: address.port,
        cut() {
          whole = false
          for (const socket of open) socket.resetAndDestroy()
        },
        mend() {
          whole = true
        },
        close() {
          for (const socket of open) socket.destroy()
          return new Promise((done) => server.close(() => done()))
        },
      })
    })
  })
}
