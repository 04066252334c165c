ALTER TABLE "confirmed_manifest" ADD COLUMN "last_seq" bigint DEFAULT 0 NOT NULL;
--> statement-breakpoint
UPDATE "confirmed_manifest" AS c SET "last_seq" = s.last_seq FROM (
	SELECT t.cluster, t.node, t.incarnation, t.body->>'manifestSha256' AS manifest_sha256, max(t.seq) AS last_seq
	FROM (SELECT cluster, node, incarnation, seq, text::jsonb->'body' AS body FROM "statement" WHERE kind = 'transition'
		AND (cluster, node, incarnation) IN (SELECT cluster, node, incarnation FROM "closed_gap")) t
	WHERE t.body->>'to' = 'Idle' AND t.body ? 'bootId' AND t.body ? 'manifestSha256'
	GROUP BY t.cluster, t.node, t.incarnation, t.body->>'manifestSha256') s
WHERE s.cluster = c.cluster AND s.node = c.node AND s.incarnation = c.incarnation AND s.manifest_sha256 = c.manifest_sha256;
