
-- meta.lua has made and checked the bucket.
return { NONCE, 'ok', NOW, INCARNATION, BORN }
