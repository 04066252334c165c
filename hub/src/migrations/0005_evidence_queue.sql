CREATE TABLE "evidence_queue" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"seq" bigint NOT NULL,
	CONSTRAINT "evidence_queue_cluster_node_incarnation_seq_pk" PRIMARY KEY("cluster","node","incarnation","seq")
);
--> statement-breakpoint
INSERT INTO "evidence_queue" SELECT s.cluster, s.node, s.incarnation, s.seq FROM "statement" s
	LEFT JOIN "attestation_result" a ON a.cluster = s.cluster AND a.node = s.node AND a.incarnation = s.incarnation AND a.seq = s.seq
	WHERE s.kind = 'evidence' AND a.cluster IS NULL;--> statement-breakpoint
DROP INDEX "statement_evidence";