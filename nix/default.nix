# What the flake offers on one system.
{ inputs, system }:
let
  # A nixpkgs for each input, under the input's name.
  sets = builtins.mapAttrs (_: input: input.legacyPackages.${system}) inputs;
  revisions = builtins.mapAttrs (_: input: input.rev or null) inputs;

  # A release is two files of one name: what it wants, which the program reads as well, and where Nix gets it from.
  release = name: import ./release.nix {
    inherit name revisions;
    pkgs = sets.nixpkgs;
    wanted = builtins.fromTOML (builtins.readFile (../xtask/core/src/release + "/${name}.toml"));
    provided = import (./releases + "/${name}.nix") sets;
  };
  documented = release "documented";
in
{
  packages = documented.packages // { default = documented.packages.tools; };
  devShells = {
    documented = documented.shell;
    default = documented.shell;
  };
  inherit (documented) checks;
  formatter = sets.nixpkgs.nixpkgs-fmt;
}
