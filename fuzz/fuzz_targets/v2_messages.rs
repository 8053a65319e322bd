#![cfg_attr(fuzzing, no_main)]

bmstools_fuzz::target!(bmstools_fuzz::v2_messages::run);
