ALTER TABLE "registration_request" ADD COLUMN "tpm" text;--> statement-breakpoint
CREATE INDEX "registration_by_ek" ON "resource" USING btree (("spec"->'tpm'->>'ekSha256')) WHERE kind = 'Registration';--> statement-breakpoint
CREATE INDEX "registration_by_ak" ON "resource" USING btree (("spec"->'tpm'->>'akName')) WHERE kind = 'Registration';