-- Requests were kept as they came, with the secret of their join token in the signed payload.
UPDATE "registration_request" SET request = (convert_from(decode(rpad(translate(split_part(request, '.', 2), '-_', '+/'),
	(ceil(length(split_part(request, '.', 2)) / 4.0) * 4)::int, '='), 'base64'), 'UTF8')::jsonb - 'token')::text
	WHERE request NOT LIKE '{%';
