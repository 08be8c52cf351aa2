"""A contract for import-linter that says where an external package may be imported.

Like import-linter's own `protected`, but it holds while some of the places do not exist yet, so a
rule can be written before the code that it is for. Called by `lint-imports` alone.
"""

from grimp import DetailedImport, ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyIn(Contract):
    """Only `importers`, and what is below them, import any of `packages` directly.

    Configuration: `packages` are top-level names outside the project; `importers` are modules of the
    project, which need not exist.
    """

    type_name = "only_in"

    packages = fields.SetField(subfield=fields.StringField())
    importers = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find every direct import from elsewhere."""
        packages: set[str] = self.packages  # type: ignore[assignment]
        importers: set[str] = self.importers  # type: ignore[assignment]
        output.verbose_print(verbose, f"Looking for {', '.join(sorted(packages))}...")
        wrong: list[DetailedImport] = []
        for package in sorted(packages & graph.modules):
            for module in sorted(graph.find_modules_that_directly_import(package)):
                if not any(module == place or module.startswith(f"{place}.") for place in importers):
                    wrong += graph.get_import_details(importer=module, imported=package)
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name each import that is in the wrong place."""
        places = ", ".join(sorted(self.importers))  # type: ignore[call-overload]
        for found in check.metadata["wrong"]:
            line = f"{found['importer']} (l.{found['line_number']}): {found['line_contents']}"
            output.print_error(f"- {line}", bold=False)
        output.print_error(f"Allowed only in {places}.", bold=False)
        output.new_line()
