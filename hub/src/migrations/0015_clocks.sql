DROP INDEX "attestation_result_by_boot";--> statement-breakpoint
CREATE INDEX "attestation_result_clock" ON "attestation_result" USING btree ("cluster","node","incarnation","seq","revision") WHERE clock is not null;--> statement-breakpoint
CREATE INDEX "attestation_result_by_boot" ON "attestation_result" USING btree ("cluster","node","boot_id","incarnation","seq","revision");