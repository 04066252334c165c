CREATE TABLE "statement_newest" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"kind" text NOT NULL,
	"phase" text NOT NULL,
	"incarnation" integer NOT NULL,
	"seq" bigint NOT NULL,
	CONSTRAINT "statement_newest_cluster_node_kind_phase_pk" PRIMARY KEY("cluster","node","kind","phase")
);
--> statement-breakpoint
DROP INDEX "statement_by_kind";--> statement-breakpoint
CREATE INDEX "statement_evidence" ON "statement" USING btree ("cluster","node","incarnation","seq") WHERE kind = 'evidence';--> statement-breakpoint
INSERT INTO "statement_newest" SELECT DISTINCT ON (s.cluster, s.node, s.kind, p.phase) s.cluster, s.node, s.kind, p.phase, s.incarnation, s.seq
	FROM "statement" s, LATERAL (SELECT coalesce(s.text::jsonb->'body'->>'to', '') AS phase) p
	ORDER BY s.cluster, s.node, s.kind, p.phase, s.incarnation DESC, s.seq DESC;
