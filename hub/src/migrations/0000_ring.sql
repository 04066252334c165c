CREATE SEQUENCE "public"."resource_version" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1;--> statement-breakpoint
CREATE TABLE "api_token" (
	"sha256" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"role" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "assignment" (
	"cluster" text PRIMARY KEY NOT NULL,
	"rollout_namespace" text NOT NULL,
	"rollout_name" text NOT NULL,
	"rollout_uid" text NOT NULL,
	"target" text NOT NULL,
	"manifest_sha256" text NOT NULL,
	"image_sha256" text NOT NULL,
	"terms" jsonb NOT NULL,
	"assigned_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "attestation_result" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"seq" bigint NOT NULL,
	"boot_id" text NOT NULL,
	"verdict" text NOT NULL,
	"reason" text NOT NULL,
	"message" text NOT NULL,
	"evidence" jsonb NOT NULL,
	"judged_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "attestation_result_cluster_node_incarnation_seq_pk" PRIMARY KEY("cluster","node","incarnation","seq")
);
--> statement-breakpoint
CREATE TABLE "audit_record" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"actor" text NOT NULL,
	"source_ip" text NOT NULL,
	"verb" text NOT NULL,
	"kind" text NOT NULL,
	"namespace" text NOT NULL,
	"name" text NOT NULL,
	"before_digest" text,
	"after_digest" text,
	"request_id" text NOT NULL,
	"hash" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "cluster_head" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"watermark" bigint DEFAULT 0 NOT NULL,
	"newest_seq" bigint DEFAULT 0 NOT NULL,
	"last_heard_at" timestamp (3) with time zone NOT NULL,
	"status_counter" bigint DEFAULT 0 NOT NULL,
	"status" jsonb,
	"status_at" timestamp (3) with time zone,
	CONSTRAINT "cluster_head_cluster_node_pk" PRIMARY KEY("cluster","node")
);
--> statement-breakpoint
CREATE TABLE "cluster_routing" (
	"cluster" text PRIMARY KEY NOT NULL,
	"token" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "controller_lease" (
	"name" text PRIMARY KEY NOT NULL,
	"token" bigint NOT NULL,
	"holder" text NOT NULL,
	"acquired_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "desired_state" (
	"cluster" text NOT NULL,
	"timeline" bigint NOT NULL,
	"generation" bigint NOT NULL,
	"payload" "bytea" NOT NULL,
	"digest" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "desired_state_cluster_timeline_generation_pk" PRIMARY KEY("cluster","timeline","generation")
);
--> statement-breakpoint
CREATE TABLE "epoch_marker" (
	"number" bigint PRIMARY KEY NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"jws" text NOT NULL,
	"digest" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "hub_state" (
	"key" text PRIMARY KEY NOT NULL,
	"value" jsonb NOT NULL,
	"changed" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "nats_revocation" (
	"nats_key" text PRIMARY KEY NOT NULL,
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"revoked_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "node_identity" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"state" text NOT NULL,
	"class" text NOT NULL,
	"node_key" jsonb NOT NULL,
	"node_key_thumbprint" text NOT NULL,
	"nats_key" text NOT NULL,
	"incarnation" integer NOT NULL,
	"request_id" text NOT NULL,
	"transcript" text NOT NULL,
	"acceptance" text NOT NULL,
	"nats_jwt" text NOT NULL,
	"credential_issued_at" timestamp (3) with time zone NOT NULL,
	"credential_expires_at" timestamp (3) with time zone NOT NULL,
	"decided_by" text NOT NULL,
	"decided_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "node_identity_cluster_node_pk" PRIMARY KEY("cluster","node")
);
--> statement-breakpoint
CREATE TABLE "publication" (
	"cluster" text NOT NULL,
	"timeline" bigint NOT NULL,
	"generation" bigint NOT NULL,
	"subject" text NOT NULL,
	"jws" text NOT NULL,
	"stream_seq" bigint NOT NULL,
	"sent_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "publication_cluster_timeline_generation_pk" PRIMARY KEY("cluster","timeline","generation")
);
--> statement-breakpoint
CREATE TABLE "registration_request" (
	"id" text PRIMARY KEY NOT NULL,
	"request" text NOT NULL,
	"challenge" text NOT NULL,
	"transcript" text NOT NULL,
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"token_name" text,
	"proven_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "resource" (
	"kind" text NOT NULL,
	"namespace" text DEFAULT '' NOT NULL,
	"name" text NOT NULL,
	"uid" text NOT NULL,
	"generation" bigint NOT NULL,
	"resource_version" bigint NOT NULL,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"annotations" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"meta" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"spec" jsonb,
	"status" jsonb,
	"created_at" timestamp (3) with time zone NOT NULL,
	"deletion_at" timestamp (3) with time zone,
	CONSTRAINT "resource_kind_namespace_name_pk" PRIMARY KEY("kind","namespace","name")
);
--> statement-breakpoint
CREATE TABLE "resource_change" (
	"resource_version" bigint PRIMARY KEY NOT NULL,
	"type" text NOT NULL,
	"kind" text NOT NULL,
	"namespace" text NOT NULL,
	"name" text NOT NULL,
	"object" jsonb NOT NULL,
	"at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "statement" (
	"cluster" text NOT NULL,
	"node" text NOT NULL,
	"incarnation" integer NOT NULL,
	"seq" bigint NOT NULL,
	"kind" text NOT NULL,
	"digest" text NOT NULL,
	"text" text NOT NULL,
	"received_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "statement_cluster_node_incarnation_seq_pk" PRIMARY KEY("cluster","node","incarnation","seq")
);
--> statement-breakpoint
CREATE TABLE "tuf_metadata" (
	"role" text NOT NULL,
	"version" bigint NOT NULL,
	"bytes" "bytea" NOT NULL,
	"sha256" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "tuf_metadata_role_version_pk" PRIMARY KEY("role","version")
);
--> statement-breakpoint
CREATE TABLE "tuf_target" (
	"path" text NOT NULL,
	"sha256" text NOT NULL,
	"bytes" "bytea" NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "tuf_target_path_sha256_pk" PRIMARY KEY("path","sha256")
);
--> statement-breakpoint
CREATE INDEX "attestation_result_by_boot" ON "attestation_result" USING btree ("cluster","node","boot_id");--> statement-breakpoint
CREATE UNIQUE INDEX "node_identity_by_key" ON "node_identity" USING btree ("node_key_thumbprint");--> statement-breakpoint
CREATE INDEX "registration_request_by_expiry" ON "registration_request" USING btree ("expires_at");--> statement-breakpoint
CREATE UNIQUE INDEX "resource_by_version" ON "resource" USING btree ("resource_version");--> statement-breakpoint
CREATE INDEX "resource_by_labels" ON "resource" USING gin ("labels");--> statement-breakpoint
CREATE INDEX "resource_change_by_kind" ON "resource_change" USING btree ("kind","resource_version");--> statement-breakpoint
CREATE INDEX "statement_by_kind" ON "statement" USING btree ("cluster","node","kind","incarnation","seq");