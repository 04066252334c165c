CREATE TABLE "closed_gap" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"last_seq" bigint NOT NULL,
	"first_seq" bigint NOT NULL,
	"gap_seq" bigint NOT NULL,
	"closed_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "closed_gap_cluster_node_incarnation_last_seq_pk" PRIMARY KEY("cluster","node","incarnation","last_seq")
);
