-- The health of an object of Headgate's, for Argo CD. Ready says whether what was declared is in force; whether the provider
-- is well is another question, and its outage holds up no sync: it is told in the message only.
local waits = {Pending = true, NoProxyConnected = true, ReplicaUnreachable = true}

local function condition(kind)
  for _, each in ipairs(obj.status.conditions) do
    if each.type == kind then
      return each
    end
  end
end

local function told(each)
  if each.message ~= nil and each.message ~= "" then
    return each.reason .. ": " .. each.message
  end
  return each.reason
end

if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "is being deleted"}
end
if obj.status == nil or obj.status.conditions == nil then
  return {status = "Progressing", message = "Headgate has not looked at it yet"}
end
local seen = obj.status.observedGeneration
if seen == nil or (obj.metadata.generation ~= nil and seen < obj.metadata.generation) then
  return {status = "Progressing", message = "Headgate has not looked at the last change yet"}
end
local ready = condition("Ready")
if ready == nil then
  return {status = "Progressing", message = "Headgate has not said yet whether it is ready"}
end
if ready.status == "True" then
  local healthy = condition("Healthy")
  if healthy ~= nil and healthy.status == "False" then
    return {status = "Healthy", message = "in force; " .. told(healthy)}
  end
  return {status = "Healthy", message = "in force"}
end
if ready.status == "Unknown" or waits[ready.reason] then
  return {status = "Progressing", message = told(ready)}
end
return {status = "Degraded", message = told(ready)}
