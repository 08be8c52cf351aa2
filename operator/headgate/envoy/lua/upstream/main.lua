-- The two ends of an attempt; the parts before this one may or may not be loaded.

function envoy_on_request(handle)
  local headers = handle:headers()
  if place_credentials then
    place_credentials(headers)
  end
  if offer_encodings then
    offer_encodings(headers)
  end
  if note_attempt then
    note_attempt(handle, headers)
  end
end

if decide or hide_credentials then
  function envoy_on_response(handle)
    if hide_credentials then
      hide_credentials(handle)
    end
    if decide then
      decide(handle)
    end
  end
end

-- Reading this script has left garbage behind, which a VM with little to do would keep: a tenth of what a section costs.
collectgarbage()
