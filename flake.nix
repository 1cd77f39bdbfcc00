{
  description = "The host tools and native servers of an Invenio release, at the versions of its documentation";

  # By revision, so that updating the lock cannot move a version. No single revision has them all: docs/nix.md has the table.
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/3c5319ad3aa51551182ac82ea17ab1c6b0f0df89";
    nixpkgs-node.url = "github:NixOS/nixpkgs/cf3ab54b4afe2b7477faa1dd0b65bf74c055d70c";
    nixpkgs-git.url = "github:NixOS/nixpkgs/c4a0efdd5a728e20791b8d8d2f26f90ac228ee8d";
    nixpkgs-docker.url = "github:NixOS/nixpkgs/e76c78d20685a043d23f5f9e0ccd2203997f1fb1";
  };

  outputs = inputs:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      # One kind of output on every system.
      output = kind: builtins.listToAttrs (map
        (system: {
          name = system;
          value = (import ./nix {
            inherit system;
            inputs = removeAttrs inputs [ "self" ];
          }).${kind};
        })
        systems);
    in
    {
      packages = output "packages";
      devShells = output "devShells";
      checks = output "checks";
      formatter = output "formatter";
    };
}
