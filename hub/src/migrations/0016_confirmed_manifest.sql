CREATE TABLE "confirmed_manifest" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"manifest_sha256" text NOT NULL,
	"seq" bigint NOT NULL,
	CONSTRAINT "confirmed_manifest_cluster_node_incarnation_manifest_sha256_pk" PRIMARY KEY("cluster","node","incarnation","manifest_sha256")
);

--> statement-breakpoint
INSERT INTO "confirmed_manifest" SELECT s.cluster, s.node, s.incarnation, s.body->>'manifestSha256', min(s.seq)
	FROM (SELECT cluster, node, incarnation, seq, text::jsonb->'body' AS body FROM "statement" WHERE kind = 'transition') s
	WHERE s.body->>'to' = 'Idle' AND s.body ? 'bootId' AND s.body ? 'manifestSha256'
	GROUP BY s.cluster, s.node, s.incarnation, s.body->>'manifestSha256';
