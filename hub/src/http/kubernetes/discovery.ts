import { KINDS, type KindRow } from '@skerry/api'
import type { FastifyInstance } from 'fastify'

// What kubectl asks before anything else: groups, resources, version. All of it follows from the table of kinds.

const groups = [...new Set(KINDS.map(({ group }) => group))].map((name) => {
  const versions = [...new Set(KINDS.filter((row) => row.group === name).map(({ version }) => version))].map(
    (version) => ({ groupVersion: `${name}/${version}`, version }),
  )
  return { name, versions, preferredVersion: versions[0] }
})

/** Every group and version with its kinds. */
export const GROUP_VERSIONS: readonly { group: string; version: string; rows: readonly KindRow[] }[] = groups.flatMap(
  ({ name, versions }) =>
    versions.map(({ version }) => ({
      group: name,
      version,
      rows: KINDS.filter((row) => row.group === name && row.version === version),
    })),
)

export function discoveryRoutes(app: FastifyInstance): void {
  const config = { access: 'authenticated' } as const
  // kubectl takes a v1 List, in which it prints several objects itself, only where there is a v1; and one that is not empty.
  app.get('/api', { config }, () => ({ kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }))
  app.get('/api/v1', { config }, () => ({
    kind: 'APIResourceList',
    groupVersion: 'v1',
    resources: [
      { name: 'namespaces', singularName: 'namespace', namespaced: false, kind: 'Namespace', verbs: ['get'] },
    ],
  }))
  app.get('/apis', { config }, () => ({ kind: 'APIGroupList', apiVersion: 'v1', groups }))
  for (const group of groups)
    app.get(`/apis/${group.name}`, { config }, () => ({ kind: 'APIGroup', apiVersion: 'v1', ...group }))
  for (const { group, version, rows } of GROUP_VERSIONS) {
    app.get(`/apis/${group}/${version}`, { config }, () => ({
      kind: 'APIResourceList',
      apiVersion: 'v1',
      groupVersion: `${group}/${version}`,
      resources: rows.map((row) => ({
        name: row.plural,
        singularName: row.singular,
        namespaced: row.namespaced,
        kind: row.kind,
        verbs: [...row.verbs],
        shortNames: [...row.shortNames],
        categories: ['skerry'],
      })),
    }))
  }
  // kubectl wait asks for the namespace of an object that is not there, to say which of the two is missing. Here every
  // namespace is there, as a part of a name.
  app.get<{ Params: { name: string } }>('/api/v1/namespaces/:name', { config }, ({ params: { name } }) => ({
    kind: 'Namespace',
    apiVersion: 'v1',
    metadata: { name },
  }))
  app.get('/version', { config: { access: 'open' } }, () => ({
    major: '1',
    minor: '37',
    gitVersion: 'v1.37.0+skerry.0.1.0',
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '',
    goVersion: '',
    compiler: '',
    platform: process.platform,
  }))
}
