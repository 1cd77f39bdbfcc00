# Compares the versions of packages with those that a release wants. Nothing is built for it.
{ wanted, provided, revisions }:
let
  inherit (builtins) attrNames compareVersions concatMap concatStringsSep elemAt filter fromJSON head isString match split splitVersion stringLength substring;

  # `>=17, <24`, `12`, `2.3`: enough of semver for what releases say. A version alone accepts what comes after it, up to
  # the next major one.
  accepts = requirement: version:
    let
      words = map (part: elemAt (match " *([^ ]*) *" part) 0) (filter isString (split "," requirement));
      holds = word:
        let
          parts = match "(>=|<|)([0-9.]+)" word;
          order = compareVersions version (elemAt parts 1);
          major = fromJSON (head (splitVersion (elemAt parts 1)));
        in
        if parts == null then throw "nix/versions.nix does not understand the requirement ${word}"
        else if head parts == ">=" then order >= 0
        else if head parts == "<" then order < 0
        else order >= 0 && compareVersions version (toString (major + 1)) < 0;
    in
    builtins.all holds words;

  # 7.1.0-62 is a build of 7.1.0.
  is = tested: version: head (match "([^-]*)(-.*)?" version) == tested;

  origin = part:
    let revision = revisions.${part.from}; in
    "${part.from} ${if revision == null then "(not by revision)" else substring 0 12 revision}";

  pad = width: text: if stringLength text < width then pad width "${text} " else text;
  row = name: wants: version: note: "${pad 15 name}  ${pad 12 wants}  ${pad 21 version}  ${note}";

  judge = name: wants: right: part: {
    row = row name wants part.package.version "${origin part}${if right then "" else ", wrong"}";
    problems = if right then [ ] else [ "${name}: wanted ${wants}, got ${part.package.version} from ${origin part}" ];
  };

  tool = { name, tested, ... }:
    let part = provided.tools.${name} or null; in
    if part == null then {
      row = row name tested "nothing" "wrong";
      problems = [ "${name}: wanted ${tested}, got nothing" ];
    } else if part ? within then {
      row = row name tested "not evaluated" "within ${part.within}; the check `programs` asks it";
      problems = [ ];
    } else judge name tested (is tested part.package.version) part;

  server = name:
    let
      part = provided.servers.${name};
      requirement = (wanted.services // wanted.runtimes).${name}.accept or null;
    in
    # A release says nothing about the version of MinIO.
    if requirement == null then judge name "any" true part
    else judge name requirement (accepts requirement part.package.version) part;

  unknown = filter (name: !(builtins.elem name (map (tool: tool.name) wanted.tools))) (attrNames provided.tools);
  judged = map tool wanted.tools ++ map server (attrNames provided.servers);
in
{
  table = concatStringsSep "\n" ([ (row "" "wanted" "got" "from") ] ++ map (judgement: judgement.row) judged) + "\n";
  problems = concatMap (judgement: judgement.problems) judged
    ++ map (name: "${name}: provided, but not wanted by the release") unknown;
}
