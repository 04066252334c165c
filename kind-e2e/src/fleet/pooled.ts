/** Acts on all of them, so many at a time; what came of it in their order. */
export async function pooled<T, R>(items: readonly T[], width: number, act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  await Promise.all(
    Array.from({ length: Math.min(width, items.length) }, async () => {
      for (let index = next++; index < items.length; index = next++) results[index] = await act(items[index] as T)
    }),
  )
  return results
}
