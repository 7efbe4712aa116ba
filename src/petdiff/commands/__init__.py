"""What each verb of the command line does, one file a verb; `petdiff.cli` holds their options."""
