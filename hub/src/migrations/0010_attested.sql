ALTER TABLE "attestation_result" ADD COLUMN "revision" integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "attestation_result" DROP CONSTRAINT "attestation_result_cluster_node_incarnation_seq_pk";--> statement-breakpoint
ALTER TABLE "attestation_result" ADD CONSTRAINT "attestation_result_cluster_node_incarnation_seq_revision_pk" PRIMARY KEY("cluster","node","incarnation","seq","revision");--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "findings" jsonb;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "pcrs" jsonb;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "bank" text;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "clock" jsonb;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "profile" text;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "firmware" text;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "policy_id" text;--> statement-breakpoint
ALTER TABLE "attestation_result" ADD COLUMN "ear" text;--> statement-breakpoint
ALTER TABLE "node_identity" ADD COLUMN "ak_name" text;--> statement-breakpoint
ALTER TABLE "node_identity" ADD COLUMN "firmware" jsonb;--> statement-breakpoint
CREATE INDEX "attestation_result_by_firmware" ON "attestation_result" USING btree ("profile","firmware","cluster") WHERE verdict in ('affirming', 'warning');