-- What was played to a site again was kept as its newest refusal of an order, and hid the one of the order in force.
UPDATE "statement_newest" AS w SET "seq" = n.seq FROM (
	SELECT s.cluster, s.node, s.incarnation, max(s.seq) AS seq FROM (
		SELECT r.cluster, r.node, r.incarnation, r.seq, r.text::jsonb->'body' AS body FROM "statement" r
		WHERE r.kind = 'refused' AND (r.cluster, r.node, r.incarnation) IN (
			SELECT cluster, node, incarnation FROM "statement_newest" WHERE kind = 'refused' AND phase = 'order')) s
	WHERE s.body ? 'position' AND s.body->>'code' NOT IN ('OlderPosition', 'PositionReused')
	GROUP BY s.cluster, s.node, s.incarnation) n
WHERE w.kind = 'refused' AND w.phase = 'order' AND w.seq <> n.seq
	AND w.cluster = n.cluster AND w.node = n.node AND w.incarnation = n.incarnation;
