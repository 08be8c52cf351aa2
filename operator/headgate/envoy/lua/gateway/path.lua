-- Request paths, read as the most generous server behind us might read them.
--
-- The path that goes on is the path that came, byte for byte: storage and KV keys contain `//` and `%2F`. So what two
-- readers could understand differently is refused where the difference would matter:
--   * dot segments in any spelling, at any depth of percent-encoding, with `\` and `%5C` read as `/`;
--   * control characters, encoded or not; a fragment; raw backslashes, blanks and bytes beyond ASCII;
--   * escapes that are none (`%zz`), and %C0 and %C1, which only ever hide an ASCII character.
-- What remains readable in two ways (`//`, `%2F`, `%41`) must lead to the same section in both: main.lua looks.

local paths = {}
do
  -- Undoes all layers at once: `%25` over and over, then one escape (`%252e` and `%2e` both become `.`). One pass, in
  -- time linear in the length, however deeply it is nested.
  local function unescape(run)
    local start = 1
    while run:sub(start, start + 1) == "25" do
      start = start + 2
    end
    local hex = run:sub(start, start + 1)
    if #hex == 2 then
      return string.char(tonumber(hex, 16)) .. run:sub(start + 2)
    end
    return "%" .. run:sub(start)
  end

  local function fault_of_raw(path)
    if path:sub(1, 1) ~= "/" then
      return "the request target must be a path that begins with '/'"
    elseif path:find("#", 1, true) then
      return "a request target has no fragment"
    elseif path:find("[%z\1-\32\127-\255]") then
      return "control characters, blanks and bytes beyond ASCII must be percent-encoded"
    elseif path:find("\\", 1, true) then
      return "a backslash must be percent-encoded"
    end
  end

  local function fault_of_decoded(decoded)
    local bracketed = "/" .. decoded:gsub("\\", "/") .. "/"
    if bracketed:find("/%.%.?[/;]") then
      return "dot segments are not allowed, in no encoding"
    elseif decoded:find("[%z\1-\31\127]") then
      return "encoded control characters are not allowed in the path"
    elseif decoded:find("[\192\193]") then
      return "the path has an overlong UTF-8 sequence"
    end
  end

  function paths.split(target)
    local query = target:find("?", 1, true)
    if query then
      return target:sub(1, query - 1), target:sub(query)
    end
    return target, ""
  end

  -- What is wrong with a request target, or nil; and its path (without query) fully decoded with slashes merged, where
  -- that reading differs from the plain one, else nil.
  function paths.examine(target)
    local fault = fault_of_raw(target)
    if fault then
      return fault
    end
    local path = paths.split(target)
    if not (path:find("%", 1, true) or path:find("//", 1, true) or path:find("/.", 1, true)) then
      return nil, nil
    end
    if path:find("%%[^%x]") or path:find("%%%x[^%x]") or path:find("%%%x?$") then
      return "a '%' in the path must begin an escape of two hexadecimal digits"
    end
    local decoded = path:gsub("%%(%x+)", unescape)
    fault = fault_of_decoded(decoded)
    if fault then
      return fault
    end
    local merged = decoded:gsub("\\", "/"):gsub("/+", "/")
    return nil, merged ~= path and merged or nil
  end
end
