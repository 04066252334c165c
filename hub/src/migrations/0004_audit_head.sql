-- Records written before the newest one's place was kept apart: it is where they end now.
INSERT INTO "hub_state" ("key", "value")
SELECT 'audit-head', jsonb_build_object('count', count(*), 'hash', (SELECT "hash" FROM "audit_record" ORDER BY "id" DESC LIMIT 1))
FROM "audit_record" HAVING count(*) > 0
ON CONFLICT ("key") DO NOTHING;
