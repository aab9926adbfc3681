"""All settings of Kerora. Each has one definition, one default and one help text.

The dataclasses of `fit`, `lora`, `language`, `pretrain` and `tune` are the only places where a setting is defined. The
options of the command line, the keys of the YAML files, the help texts and the comments that `kerora init` writes are
all derived from them. Values are checked when an object is created. `resolve` turns files and options into settings,
and `base` defines what a setting is.

Scripts import the settings from `kerora.config`.
"""
