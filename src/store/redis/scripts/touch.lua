
-- meta.lua does the work: it makes the bucket, checks its layout and raises its values.
return { NONCE, 'ok', NOW, INCARNATION, BORN }
