-- The arrival hours with records that wait for a key.
-- Parameter: the key's id.
SELECT DISTINCT year || '-' || month || '-' || day || '-' || hour AS arrival
FROM api_events_quarantine
WHERE reject_reason = 'unknown_key' AND key_id = ?
ORDER BY 1
