"""petdiff as a module of DICOM routers: one run per container, folders named by environment.

The contracts are those of mercure (MERCURE_IN_DIR, task.json, result.json) and of MONAI application
packages (HOLOSCAN_INPUT_PATH, MONAI_INPUTPATH). docs/how-to/container.md describes them.
"""
