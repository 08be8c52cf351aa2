-- What an answer means beyond its status. The policy has the marks as text, one a line: meaning, statuses, `h` (header),
-- `f` (field of the body) or nothing, a name, texts; `%XX` for what would end a part. Loaded where there are marks.

local SAFE = "NothingRan"

local source, by_status

local function plain(part)
  return (string.gsub(part, "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

local function compiled(text)
  local result = {}
  for line in string.gmatch(text, "[^\n]+") do
    local parts = {}
    for part in string.gmatch(line .. "|", "([^|]*)|") do
      parts[#parts + 1] = part
    end
    local mark = { safe = parts[1] == SAFE, kind = parts[3], name = plain(parts[4]), texts = {} }
    for index = 5, #parts do
      mark.texts[index - 4] = plain(parts[index])
    end
    for status in string.gmatch(parts[2], "%d+") do
      result[status] = result[status] or {}
      table.insert(result[status], mark)
    end
  end
  return result
end

-- The marks of a status; nil where there are none.
function marks_of(policy, status)
  local text = policy.marks or ""
  if text ~= source then
    source, by_status = text, compiled(text)
  end
  return by_status[status]
end

local function contains(mark, text)
  for _, part in ipairs(mark.texts) do
    if string.find(text, part, 1, true) then
      return true
    end
  end
  return false
end

-- "never" comes before "safe": what says that repeating is no use, or does harm, has the last word.
local function stronger(meaning, mark)
  return (meaning == "never" or not mark.safe) and "never" or "safe"
end

local function in_header(mark, headers)
  for index = 0, headers:getNumValues(mark.name) - 1 do
    if contains(mark, headers:getAtIndex(mark.name, index)) then
      return true
    end
  end
  return false
end

-- By status and headers: "never", "safe" or nil; and whether the body may say more.
function head_meaning(marks, headers)
  local meaning, more
  for _, mark in ipairs(marks) do
    if mark.kind == "f" then
      more = true
    elseif mark.kind == "" or in_header(mark, headers) then
      meaning = stronger(meaning, mark)
    end
  end
  return meaning, more and meaning ~= "never"
end

-- The same, with what the body says; a body that is no JSON says nothing.
function body_meaning(marks, text, before)
  local meaning = before
  local fine = json_members(text, function(name, value)
    for _, mark in ipairs(marks) do
      if mark.kind == "f" and mark.name == name and contains(mark, value) then
        meaning = stronger(meaning, mark)
      end
    end
  end)
  return fine and meaning or before
end
