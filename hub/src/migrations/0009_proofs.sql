CREATE TABLE "node_life" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"node_key" jsonb NOT NULL,
	"transcript" text NOT NULL,
	"proof" text,
	"decided_by" text NOT NULL,
	"decided_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "node_life_cluster_node_incarnation_pk" PRIMARY KEY("cluster","node","incarnation")
);
--> statement-breakpoint
CREATE TABLE "statement_batch" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"last_seq" bigint NOT NULL,
	"first_seq" bigint NOT NULL,
	"header" text NOT NULL,
	"signature" text NOT NULL,
	"payload" text,
	CONSTRAINT "statement_batch_cluster_node_incarnation_last_seq_first_seq_pk" PRIMARY KEY("cluster","node","incarnation","last_seq","first_seq")
);
--> statement-breakpoint
ALTER TABLE "registration_request" ADD COLUMN "proof" text;--> statement-breakpoint
INSERT INTO "node_life" ("cluster", "node", "incarnation", "node_key", "transcript", "decided_by", "decided_at")
	SELECT "cluster", "node", "incarnation", "node_key", "transcript", "decided_by", "decided_at" FROM "node_identity";
