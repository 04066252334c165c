CREATE TABLE "rollout_act" (
	"seq" bigserial PRIMARY KEY NOT NULL,
	"id" text NOT NULL,
	"verb" text NOT NULL,
	"actor" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"reason" text NOT NULL,
	"rollout_uid" text NOT NULL,
	"manifest_sha256" text,
	"gate" text,
	"clusters" jsonb,
	"expires_at" timestamp (3) with time zone
);
--> statement-breakpoint
ALTER TABLE "resource" ADD COLUMN "spec_by" text;--> statement-breakpoint
CREATE INDEX "rollout_act_by_rollout" ON "rollout_act" USING btree ("rollout_uid","seq");--> statement-breakpoint
-- The audit does not tell a change of the spec from one of labels: of earlier rollouts it is whoever changed anything last.
UPDATE "resource" r SET "spec_by" = (
	SELECT a."actor" FROM "audit_record" a
	WHERE a."kind" = r."kind" AND a."namespace" = r."namespace" AND a."name" = r."name" AND a."verb" IN ('create', 'update', 'patch')
	ORDER BY a."id" DESC LIMIT 1
) WHERE r."kind" = 'Rollout';
