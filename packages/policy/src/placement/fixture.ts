import { CLUSTER_SET_LABEL, type ObjectOf, type Taint } from '@skerry/api'

// A cluster as the hub stores it, for the tests of this room.

export type ClusterOptions = {
  readonly labels?: Record<string, string>
  readonly taints?: Taint[]
  readonly status?: ObjectOf<'ManagedCluster'>['status']
  readonly deletedAt?: string
}

export function clusterOf(
  name: string,
  { labels = {}, taints = [], status = {}, deletedAt }: ClusterOptions = {},
): ObjectOf<'ManagedCluster'> {
  return {
    apiVersion: 'cluster.open-cluster-management.io/v1',
    kind: 'ManagedCluster',
    metadata: {
      ...{
        name,
        uid: `uid-${name}`,
        resourceVersion: '1',
        generation: 1,
        creationTimestamp: '1970-01-01T00:00:00.000Z',
      },
      labels: { [CLUSTER_SET_LABEL]: 'shops', ...labels },
      ...(deletedAt === undefined ? {} : { deletionTimestamp: deletedAt }),
    },
    spec: { taints },
    status,
  }
}
